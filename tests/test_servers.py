import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.servers import serving, transformers_serve

from palimpsest.lm.models import ROSETTA_WEIGHTS


async def _greet(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"hello {request.query_params['name']}")


@pytest.mark.slow
def test_an_app_is_served_until_the_block_ends() -> None:
    with serving(Starlette(routes=[Route("/", _greet)])) as url:
        assert httpx.get(url, params={"name": "you"}).text == "hello you"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


@pytest.mark.slow
def test_transformers_serve_answers_until_the_block_ends() -> None:
    with transformers_serve(ROSETTA_WEIGHTS / "base") as url:
        assert httpx.get(f"{url}/health").is_success
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
