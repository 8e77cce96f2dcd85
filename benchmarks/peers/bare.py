"""A bare Starlette route that reads the body and answers 200. It shows what the web server alone can do."""

import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def deliver(request: Request) -> Response:
    """Reads the body and keeps nothing."""
    await request.body()
    return Response()


app = Starlette(routes=[Route("/webhooks/{namespace}/{name}", deliver, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=2048,
    )
