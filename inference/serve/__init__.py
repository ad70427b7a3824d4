"""medseg-r serve: a model behind an address, for nodes that are elsewhere or pin other versions.

app     the routes of the protocol (docs/researcher.md)
turns   one request at a time, a few that wait, and 503 for the rest
run     uvicorn, the token and TLS
"""
