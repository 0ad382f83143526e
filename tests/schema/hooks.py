"""What schemathesis makes up is sent with harmless commands and with paths of the daemon's own directory, so that requests
that are taken can be carried out for real. And one check of ours: each status is documented by name."""

import json
import os
import re
import zlib

import schemathesis

ROOT = os.environ["SCHEMA_ROOT"]
COMMANDS = ["true", "sleep 1", "sleep 600", "false", "echo out; echo err >&2"]
SLUGS = ["a", "b", "web", "x.y-z_1"]
overlays = []


def pick(choices, text):
    """Always the same one for the same text, so that a failure can be repeated."""
    return choices[zlib.crc32(repr(text).encode()) % len(choices)]


def is_refused(text):
    return not text.strip() or "\0" in text


def command(text):
    if is_refused(text):
        return text
    return "true " + "x" * len(text) if len(text) > 131000 else pick(COMMANDS, text)


def path(text):
    return text if is_refused(text) or len(text) > 4095 else pick([".", "sub", "none", ROOT], text)


def source(text):
    template = os.path.join(ROOT, "template")
    return template if text.startswith("/") and not is_refused(text) else text


def target(text):
    bad = is_refused(text) or len(text) > 4095 or ".." in text.split("/")
    return "../" + text if bad and text.startswith("/") else text if bad else f"made/{zlib.crc32(text.encode()) % 20}"


def slug(text):
    return pick(SLUGS, text) if re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text) else text


HARMLESS = {
    "start": command,
    "install": command,
    "path": path,
    "env_file": path,
    "source": source,
    "target": target,
    "slug": slug,
}


# The limit for texts in place of the API's own, see `small`.
LONGEST = len(ROOT) + 20


def tame(value):
    if isinstance(value, dict):
        return {name: HARMLESS[name](of) if name in HARMLESS and isinstance(of, str) else
                # Longer than `small` says is no fault for the daemon: it would be in answers that are held against it.
                [text[:LONGEST] if isinstance(text, str) else text for text in of] if name == "ignore" and isinstance(of, list)
                else tame(of) for name, of in value.items()}
    return [tame(of) for of in value] if isinstance(value, list) else value


def tame_body(body):
    if isinstance(body, (bytes, str)):
        try:
            return json.dumps(tame(json.loads(body))).encode()
        except (ValueError, RecursionError):
            return body
    return tame(body)


def small(schema):
    """Texts of 131,000 characters and lists of a thousand are left to other tests: making them up takes all the time."""
    if isinstance(schema, list):
        return [small(of) for of in schema]
    if not isinstance(schema, dict):
        return schema
    limits = {"maxLength": LONGEST, "maxItems": 2}
    return {name: min(of, limits[name]) if name in limits and isinstance(of, int) else
            of.replace("{0,2047}", "{0,20}") if name == "pattern" and isinstance(of, str) else small(of)
            for name, of in schema.items()}


@schemathesis.hook
def before_load_schema(ctx, raw_schema):
    made = small(raw_schema)
    raw_schema.clear()
    raw_schema.update(made)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    case.body = tame_body(case.body)
    if isinstance(case.path_parameters.get("slug"), str):
        case.path_parameters["slug"] = slug(case.path_parameters["slug"])
    known = case.path_parameters.get("id")
    if isinstance(known, str) and overlays and re.fullmatch("[a-z0-9]{1,32}", known):
        case.path_parameters["id"] = pick(overlays[-8:], known)
    # No check waits for an hour, and a log that is followed has no end.
    limit = str(case.query.get("timeout_ms", ""))
    if limit.isascii() and limit.isdigit() and int(limit) <= 3600000:
        case.query["timeout_ms"] = str(min(int(limit), 20))
    elif case.query.get("wait") or case.query.get("wait_for"):
        case.query.setdefault("timeout_ms", "20")
    if str(case.query.get("follow")).lower() == "true":
        case.query["follow"] = "false"


@schemathesis.hook
def after_call(ctx, case, response):
    if response.status_code == 201 and case.operation.path == "/filesystem/overlays":
        overlays.append(json.loads(response.content)["id"])


@schemathesis.check
def status_is_documented(ctx, response, case):
    """Schemathesis takes any status where there is a `default`; the document names those that it stands for."""
    if response.request.method == "OPTIONS":
        assert response.status_code in (204, 400, 401, 403, 404), f"{response.status_code} to OPTIONS"
        return
    reported = set(case.operation.definition.raw["responses"])
    reported |= set(re.findall(r"\b[45]\d\d\b", case.operation.schema.raw_schema["info"]["description"]))
    assert str(response.status_code) in reported, f"{response.status_code} is not documented"
    assert response.status_code != 500, "a fault of the daemon"
