"""deputy's own door for MCP hosts by the clients of Python: the official one and fastmcp."""

import asyncio
import json
import sys

from fastmcp import Client as FastClient
from fastmcp.client.transports import StreamableHttpTransport
from mcp import Client

url, user = sys.argv[1:3]
headers = {"deputy-user": user}


async def main() -> None:
    said = {}
    import httpx
    from mcp.client.streamable_http import streamable_http_client

    async with httpx.AsyncClient(headers=headers) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            tools = await client.list_tools()
            result = await client.call_tool("Acme_ListNotes", {"n": 2})
            denied = await client.call_tool("Acme_EraseNotes", {})
            said["mcp"] = {
                "list": [tool.name for tool in tools.tools],
                "call": result.structured_content,
                "denied": denied.is_error,
            }
    async with FastClient(StreamableHttpTransport(url, headers=headers)) as client:
        tools = await client.list_tools()
        result = await client.call_tool("Acme_ListNotes", {"n": 2})
        said["fastmcp"] = {
            "list": [tool.name for tool in tools],
            "call": result.structured_content,
        }
    print(json.dumps(said))


asyncio.run(main())
