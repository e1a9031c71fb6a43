"""The parser of manifests beside their JSON Schema, on every manifest that any test parses.

``compare_always`` stands between the tests and the parser. A manifest that the parser takes, the schema takes; one that
it refuses, the schema refuses, unless JSON Schema cannot say why.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import jsonschema

from clsclip_runtime.bundle import manifest as manifest_module
from clsclip_runtime.bundle import opening as opening_module
from clsclip_runtime.bundle.specs import Manifest
from clsclip_runtime.errors import BundleError

SCHEMA = json.loads(Path(manifest_module.__file__).with_name("manifest.schema.json").read_text("utf-8"))

BEYOND_THE_SCHEMA = (
    r"which this clsclip does not know\. Upgrade clsclip$",  # what a runtime knows is not the format's matter
    r"must be a name of its own",
    r"must be names that no image feature has",
    r"must be a shape of at most \d+ values",
    r"must be smallest, usual and largest number, ascending",
    r"must be such that one call has at most",
    r"must be the name of a text feature of unit norm",
    r"must be lists by the names of image features that are no single numbers",
    r"must be a list of \d+ numbers",
)
"""Messages of refusals by a relation of several values, which JSON Schema cannot express."""


def validator() -> jsonschema.Draft202012Validator:
    """The schema's validator, to which 3.0 is no whole number."""
    base = jsonschema.Draft202012Validator
    base.check_schema(SCHEMA)
    types = base.TYPE_CHECKER.redefine("integer", lambda checker, value: type(value) is int)
    return jsonschema.validators.extend(base, type_checker=types)(SCHEMA)


VALIDATOR = validator()


def faults(document: Any, *, with_files: bool = True) -> list[str]:
    """What the schema objects to; without ``with_files`` not that a file is missing, which the parser does not see."""
    found = []
    for error in VALIDATOR.iter_errors(document):
        path = list(error.absolute_path)
        about_files = path == ["files"] and error.validator in ("required", "anyOf", "dependentRequired", "not")
        if with_files or not about_files:
            found.append(f"{'.'.join(map(str, path))}: {error.message[:200]}")
    return found


def is_strict(value: Any) -> bool:
    """Whether a document has no NaN or infinity, which are not JSON."""
    if isinstance(value, dict):
        return all(is_strict(one) for one in value.values())
    if isinstance(value, list):
        return all(is_strict(one) for one in value)
    return not isinstance(value, float) or math.isfinite(value)


def compare_always() -> None:
    """Compare from now on, wherever a manifest is parsed."""
    parse = manifest_module.parse_manifest

    def compared(document: bytes, *args: Any, **kwargs: Any) -> Manifest:
        try:
            data = json.loads(document.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return parse(document, *args, **kwargs)
        try:
            result = parse(document, *args, **kwargs)
        except BundleError as error:
            beyond = any(re.search(pattern, str(error)) for pattern in BEYOND_THE_SCHEMA) or not is_strict(data)
            if not beyond and not faults(data, with_files=False):
                raise AssertionError(f"the schema takes what the parser refuses: {error}") from error
            raise
        found = faults(data, with_files=False)
        if found:
            raise AssertionError(f"the schema refuses what the parser takes: {found}")
        return result

    manifest_module.parse_manifest = compared
    opening_module.parse_manifest = compared
    open_bundle = opening_module.Bundle.open.__func__  # type: ignore[attr-defined]

    def opened(
        cls: type[opening_module.Bundle], path: str | os.PathLike[str] | None = None, **options: Any
    ) -> opening_module.Bundle:
        bundle: opening_module.Bundle = open_bundle(cls, path, **options)
        found = faults(bundle.manifest.raw)
        if found:
            raise AssertionError(f"the schema refuses a bundle that opens: {found}")
        return bundle

    opening_module.Bundle.open = classmethod(opened)  # type: ignore[method-assign,assignment]
