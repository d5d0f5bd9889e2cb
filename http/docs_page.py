"""The page at /docs: the OpenAPI document, readable, in one file without anything from the network."""

import json
from html import escape
from typing import Any, Final

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h2{margin-top:2.5rem;border-bottom:1px solid #ccc}
details{margin:.4rem 0;padding:.4rem .6rem;border:1px solid #ddd;border-radius:4px}
summary{cursor:pointer}code,pre{font:14px/1.45 ui-monospace,monospace}pre{overflow:auto;background:#f5f5f5;padding:.6rem}
.method{display:inline-block;min-width:4.5rem;font-weight:bold}
td,th{text-align:left;padding:.1rem .8rem .1rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#242424}details{border-color:#444}a{color:#8bf}}
"""


def docs_page(document: str) -> str:
    """Return the page as HTML."""
    api = json.loads(document)
    operations = [
        (method.upper(), path, operation) for path, methods in api["paths"].items() for method, operation in methods.items()
    ]
    parts = []
    for tag in dict.fromkeys(operation["tags"][0] for _, _, operation in operations):
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts += [_operation(*one) for one in operations if one[2]["tags"][0] == tag]
    models = [
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code> '
        f"{escape(schema.get('description', ''))}</summary>"
        f"{_json(schema)}</details>"
        for name, schema in sorted(api["components"]["schemas"].items())
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Callboard API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>Callboard API {escape(api['info']['version'])}</h1>"
        '<p>The same for programs: <a href="/openapi.json">openapi.json</a>. Success answers <code>{"data": …}</code>, '
        "every error <code>application/problem+json</code>.</p>"
        f"{''.join(parts)}<h2>models</h2>{''.join(models)}</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter['in'])}</td>"
        f"<td>{escape(parameter.get('description', ''))}</td></tr>"
        for parameter in operation.get("parameters", [])
    ]
    table = f"<table>{''.join(rows)}</table>" if rows else ""
    body = _model(operation["requestBody"], "<p>Body: {}</p>") if "requestBody" in operation else ""
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td><td>{_model(answer, '{}')}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f'<details><summary><span class="method">{method}</span><code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary>{table}{body}<table>{answers}</table></details>"
    )


def _model(part: dict[str, Any], frame: str) -> str:
    for content in part.get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        return frame.format(f'<a href="#{escape(name)}"><code>{escape(name)}</code></a>')
    return ""


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
