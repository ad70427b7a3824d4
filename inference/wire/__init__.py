"""How a node and a remote predictor talk: JSON with the arrays behind it. Nothing here can run code of the other side.

frame      a message and its arrays as bytes, and back
messages   stacks, questions, answers, descriptions as messages
"""
