"""One TOML file of the configuration: reading it, finding the line of a key, replacing it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vermas.errors import ConfigError

KeyPath = tuple[str, ...]
_POSITION = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A parsed file. A missing one is empty."""

    path: str
    text: str
    data: Mapping[str, Any]

    @classmethod
    def read(cls, path: str) -> ConfigFile:
        try:
            with open(path, "rb") as file:
                text = file.read().decode("utf-8")
        except FileNotFoundError:
            text = ""
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from error
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        return cls.parse(path, text)

    @classmethod
    def parse(cls, path: str, text: str) -> ConfigFile:
        try:
            return cls(path, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            message, line, column = _split_position(str(error))
            where = f"{path}:{line}:{column}" if line else f"{path}:{text.count(chr(10)) + 1}"
            raise ConfigError(f"{where}: {message}") from error

    def value(self, path: KeyPath) -> Any:
        """The value at a key path; KeyError when the file does not say."""
        return walk(self.data, path)

    def where(self, path: KeyPath) -> str:
        """`file:line` of a key path, or of the innermost table around it that the file has."""
        for length in range(len(path), 0, -1):
            for line, found in self._statements():
                try:
                    walk(found, path[:length])
                except KeyError:
                    continue
                return f"{self.path}:{line}"
        return self.path

    def wrong(self, path: KeyPath, message: str) -> ConfigError:
        return ConfigError(f"{self.where(path)}: {message}")

    def _statements(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each table header or assignment with its line, as the nested table that it alone makes."""
        header, start, chunk = "", 0, ""
        for number, line in enumerate(self.text.split("\n"), 1):
            start = start or number
            chunk += line + "\n"
            try:
                if not tomllib.loads(chunk):
                    start, chunk = 0, ""
                    continue
            except tomllib.TOMLDecodeError:
                continue
            is_header = chunk.lstrip().startswith("[")
            header = chunk if is_header else header
            yield start, tomllib.loads(chunk if is_header else header + "\n" + chunk)
            start, chunk = 0, ""


def walk(data: Mapping[str, Any], path: KeyPath) -> Any:
    for key in path:
        if not isinstance(data, Mapping):
            raise KeyError(key)
        data = data[key]
    return data


def parse_key(text: str) -> KeyPath:
    """`rigs.api.check` as a path; parts may be quoted as in TOML."""
    try:
        data: Any = {} if "\n" in text or "=" in text else tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        data = {}
    path: list[str] = []
    while isinstance(data, dict) and data:
        key, data = next(iter(data.items()))
        path.append(key)
    if not path:
        raise ConfigError(f"{text!r} is not a key: write names joined by dots, such as rigs.api.check")
    return tuple(path)


def parse_value(text: str) -> Any:
    """A TOML value; text that does not look like one is a string."""
    try:
        data = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text.lstrip()[:1] in ('"', "'", "[", "{"):
            raise ConfigError(f"{text!r} is not a TOML value: {_split_position(str(error))[0]}") from error
        return text
    return data["value"] if len(data) == 1 else text


def display(value: Any) -> str:
    """A value as TOML would write it, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {display(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(display(item) for item in value) + "]"
    if isinstance(value, (bool, str)):
        import json

        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _split_position(message: str) -> tuple[str, str, str]:
    match = _POSITION.match(message)
    return (match[1], match[2] or "", match[3] or "") if match else (message, "", "")
