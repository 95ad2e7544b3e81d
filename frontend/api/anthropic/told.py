"""Blocks are told to the model as text, or shown to it: texts, documents, search results, tools
that become known on the way, and pictures.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from frontend.api.anthropic.schemas import (
    DocumentBlock,
    ImageBlock,
    SearchResultBlock,
    TextBlock,
    ToldBlock,
)
from frontend.api.fields.param_names import ClientsName
from frontend.media.part import MediaSource
from protocol.errors import InvalidRequest, UnsupportedParameter

_BILLING: Final = "x-anthropic-billing-header:"
"""Begins a system prompt of Claude Code's.

It speaks to Anthropic's accounting and differs between sessions and versions: told to the model, it
would leave them no prefix in common.
"""

_encode = msgspec.json.Encoder().encode


def system_text(system: str | list[TextBlock] | None) -> str:
    """Returns the system prompt, without what is not meant for the model."""
    if isinstance(system, str):
        first, _, rest = system.partition("\n")
        return rest if first.startswith(_BILLING) else system
    return "\n".join(block.text for block in system or () if not block.text.startswith(_BILLING))


def told_part(
    block: ToldBlock, tools: Mapping[str, dict[str, Any]], param: str
) -> str | MediaSource:
    """Returns a block as the model reads or sees it.

    Args:
        tools: by name, in OpenAI's form.
    Raises:
        UnsupportedParameter: its source is none that can be read here.
        InvalidRequest: it names a tool that is not offered, or its document has no text.
    """
    match block:
        case TextBlock():
            return block.text
        case SearchResultBlock():
            return "\n".join((block.title, block.source, *(part.text for part in block.content)))
        case DocumentBlock():
            return "\n".join(
                filter(
                    None,
                    (block.title, block.context, _document_text(block.source, f"{param}.source")),
                )
            )
        case ImageBlock():
            return _picture(block.source, f"{param}.source")
        case _:
            if block.tool_name not in tools:
                raise InvalidRequest(
                    f"{block.tool_name[:100]!r} is none of the tools.", param=f"{param}.tool_name"
                )
            function = _encode(tools[block.tool_name]["function"]).decode()
            return f"<functions>\n<function>{function}</function>\n</functions>"


def told_text(block: ToldBlock, tools: Mapping[str, dict[str, Any]], param: str) -> str:
    """Returns what `told_part` does, of a block that is in a place for text alone.

    Raises:
        UnsupportedParameter, InvalidRequest: also where it is a picture.
    """
    told = told_part(block, tools, param)
    if isinstance(told, str):
        return told
    raise InvalidRequest("An image is no part of what an assistant says.", param=f"{param}.type")


def _picture(source: Mapping[str, Any], param: str) -> MediaSource:
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            name = ClientsName(f"{param}.data")
            return MediaSource("image", f"data:{kind};base64,{data}", name)
        case {"type": "url", "url": str(url)}:
            return MediaSource("image", url, ClientsName(f"{param}.url"))
        case _:
            raise UnsupportedParameter(
                "An image needs a source of type base64, with media_type and data, or of type url.",
                param=param,
            )


def _document_text(source: Mapping[str, Any], param: str) -> str:
    kind, data, content = source.get("type"), source.get("data"), source.get("content")
    if kind == "text" and isinstance(data, str):
        return data
    if kind == "content" and isinstance(content, str):
        return content
    if kind == "content" and isinstance(content, list):
        parts = [
            cast("dict[str, Any]", part) if isinstance(part, dict) else {}
            for part in cast("list[Any]", content)
        ]
        texts = [part.get("text") for part in parts if part.get("type") == "text"]
        if len(texts) == len(parts) and all(isinstance(text, str) for text in texts):
            return "\n".join(cast("list[str]", texts))
    if kind in ("text", "content"):
        raise InvalidRequest("A document of text needs its text.", param=param)
    shown = f"{kind!r:.100}" if isinstance(kind, str) else "of no type"
    raise UnsupportedParameter(
        f"Documents from a source {shown} are not supported; this server takes text only.",
        param=f"{param}.type",
    )
