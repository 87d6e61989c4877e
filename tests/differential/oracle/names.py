"""How a trace calls an error: by its class; a group with the names of its members, sorted."""

import json


def error_name(error):
    if isinstance(error, BaseExceptionGroup):
        members = (json.dumps(error_name(each), separators=(",", ":")) for each in error.exceptions)
        return ["EG", *sorted(members)]
    return type(error).__name__
