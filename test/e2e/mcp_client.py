# The official client of Python (mcp, by fastmcp) at an MCP server: who it is there, what it is shown, how a refusal reads.
import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport


async def main(url: str, user: str) -> None:
    transport = StreamableHttpTransport(url, headers={"deputy-user": user})
    async with Client(transport) as client:
        who = await client.call_tool("whoami", {})
        tools = await client.list_tools()
        try:
            await client.call_tool("delete_all", {})
            refusal = "none"
        except Exception as error:
            refusal = str(error)
    told = {"who": who.content[0].text, "tools": [tool.name for tool in tools], "refusal": refusal}
    print(json.dumps(told))


asyncio.run(main(*sys.argv[1:3]))
