"""One study's way through the node: receive, complete, plan, predict, publish."""
