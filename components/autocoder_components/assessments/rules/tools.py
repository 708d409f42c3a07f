"""Rules on the tools that a server lists: their presentation alone. The deep scan finds, by asking the server for them."""

from __future__ import annotations

from autocoder_components.assessments.model import RuleInfo, Severity
from autocoder_components.assessments.rules.base import Theme

TOOL_CHANGED = RuleInfo(
    "AC-901",
    "ToolChanged",
    "A tool is not what it was at the last scan",
    Severity.HIGH,
    "MCP03:2025",
    "Whoever approved the tool approved another description, schema or annotation. A server that was harmless when it was "
    "looked at, and changes afterwards, is how tools are poisoned behind an approval.",
    "Read the new definition before the tool is used again, and pin the version of the server",
)
TOOLS_ADDED = RuleInfo(
    "AC-902",
    "ToolAdded",
    "A tool that was not there at the last scan",
    Severity.MEDIUM,
    "MCP03:2025",
    "Clients offer it to the model without asking. A new name may also take the calls that were meant for another tool.",
    "Read the definition of the tool, and switch it off where it is not needed",
)
TOOLS_GONE = RuleInfo(
    "AC-903",
    "ToolGone",
    "A tool of the last scan is there no more",
    Severity.INFO,
    None,
    "What relied on it fails, or does something else instead.",
    "See whether anything relied on the tool",
)
TOOL_HIDDEN_TEXT = RuleInfo(
    "AC-904",
    "ToolHiddenText",
    "A tool's definition holds characters that nobody sees",
    Severity.HIGH,
    "MCP03:2025",
    "The model reads tags, zero-width and direction-changing characters; the person who approves the tool does not see them, "
    "or sees another text. There is no use for them in a definition.",
    "Remove the server until its origin is clear",
)
TOOL_INSTRUCTIONS = RuleInfo(
    "AC-905",
    "ToolInstructions",
    "A tool's definition gives the model orders beyond its own use",
    Severity.HIGH,
    "MCP03:2025",
    "Definitions of tools are part of what the model is told, in every conversation, whether the tool is called or not. One "
    "that tells it to hide, ignore, fetch or send something, or how to use other servers' tools, is an attack.",
    "Remove the server until its origin is clear",
)
LYING_ANNOTATION = RuleInfo(
    "AC-906",
    "LyingAnnotation",
    "An annotation says less than the tool does",
    Severity.HIGH,
    "MCP03:2025",
    "Clients ask nobody before they call a tool that says it only reads, destroys nothing or stays inside.",
    "Have the annotation corrected; until then let the client ask before each call",
)
TOOL_COMBINATION = RuleInfo(
    "AC-907",
    "DangerousCombination",
    "Together the tools can carry private data out",
    Severity.HIGH,
    "MCP10:2025",
    "Tools that read private data, take in what strangers wrote and can send something out are all that an injected "
    "instruction needs: the stranger's text says what to read and where to send it. Running code counts for more than one. "
    "It makes no difference whether they are of one server or of several in one configuration: the client offers all of them.",
    "Switch off one of the three kinds of tools, or let a person confirm every call that sends",
)
AMBIGUOUS_NAME = RuleInfo(
    "AC-908",
    "AmbiguousToolName",
    "A tool's name can be taken for another",
    Severity.MEDIUM,
    "MCP03:2025",
    "Two tools of one name, or letters that look like those of another script: which tool is called is not what a person "
    "reads.",
    "Have the tool renamed, with plain letters, digits and _ - . only",
)
NOT_ALL_INSPECTED = RuleInfo(
    "AC-909",
    "NotAllInspected",
    "The server lists more than can be inspected, or used",
    Severity.LOW,
    "MCP10:2025",
    "What lies beyond the bound was not looked at. All of it goes into every conversation with the model.",
    "Switch off the tools that are not needed",
)

THEME = Theme(
    (
        *(TOOL_CHANGED, TOOLS_ADDED, TOOLS_GONE, TOOL_HIDDEN_TEXT, TOOL_INSTRUCTIONS, LYING_ANNOTATION),
        *(TOOL_COMBINATION, AMBIGUOUS_NAME, NOT_ALL_INSPECTED),
    )
)
