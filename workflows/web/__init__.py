"""The review worklist and the administrator's pages: FastAPI, Jinja2, server-sent events, no build step."""
