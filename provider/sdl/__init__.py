"""The manifest language: a tenant's YAML in, manifest, groups, version or problems out.

Pure: no files, no environment, no clock. ``read`` parses a file; ``manifest_json``, ``manifest_hash``
and ``group_specs_json`` write what Akash would; ``manifest_from_json`` and ``group_from_json`` read that
back at the provider; ``cross_check`` compares a manifest with what was ordered, ``compare_groups`` groups
with groups. Failures are
``SdlInvalid`` (a tenant's file) and ``JsonInvalid`` (JSON from a peer), and nothing else.
"""

from provider.sdl.canonical import JsonInvalid, hash_of_json
from provider.sdl.comparison import Difference, Mismatch, compare_groups, cross_check, cross_check_group
from provider.sdl.group_json import group_spec_json, group_specs_json
from provider.sdl.group_load import group_from_json, group_specs_from_json
from provider.sdl.manifest_json import manifest_hash, manifest_json
from provider.sdl.manifest_load import manifest_from_json
from provider.sdl.needs import Needs, hostnames, needs_of, public_ports
from provider.sdl.problems import Problem, SdlInvalid, Severity, render, show
from provider.sdl.reading import Parsed, read
from provider.sdl.substitute import Substitution, parse_env_file

__all__ = [
    "Parsed",
    "read",
    "Substitution",
    "parse_env_file",
    "manifest_json",
    "manifest_hash",
    "hash_of_json",
    "manifest_from_json",
    "group_specs_json",
    "group_spec_json",
    "group_from_json",
    "group_specs_from_json",
    "cross_check",
    "cross_check_group",
    "compare_groups",
    "Mismatch",
    "Difference",
    "needs_of",
    "Needs",
    "public_ports",
    "hostnames",
    "Problem",
    "Severity",
    "SdlInvalid",
    "JsonInvalid",
    "render",
    "show",
]
