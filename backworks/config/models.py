"""The models of a configuration: frozen, with a description of every field.

The models check one field at a time. Checks that involve several fields, such as an endpoint and its plugin, are in
``checks``, so that an invalid field does not hide other errors. :func:`backworks.config.load_config` and
:func:`backworks.config.parse_config` do both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from backworks.config.base import SECTION, Model
from backworks.config.checks import METHODS
from backworks.config.fields import (
    TOKEN,
    read_host,
    read_import,
    read_method,
    read_methods,
    read_path,
    read_settings,
)
from backworks.config.fieldtypes import Duration, Size, Switch, choice, text, whole
from backworks.config.source import Source
from backworks.config.supervision import BreakerOrFalse, LimitsSection, RestartSection, VariableName
from backworks.settings import Breaker, Isolation, Settings, defaults_of

__all__ = [
    "Config",
    "DiscoveryConfig",
    "EndpointConfig",
    "PluginConfig",
    "RuntimeConfig",
    "ServerConfig",
]


class ServerConfig(Model):
    """The settings of the HTTP server."""

    host: Annotated[str, text("a host name or an IP address")] = Field(
        default="127.0.0.1",
        description="The address to listen on; 0.0.0.0 listens on all interfaces.",
        examples=["127.0.0.1", "::1"],
    )
    port: Annotated[int, whole(0, 65535)] = Field(
        default=8080, description="The TCP port to listen on; 0 selects a free port.", examples=[8080]
    )
    max_body: Size = Field(
        default=1 << 20,
        description="The maximum size of a request body; the server rejects larger ones with 413.",
        examples=["1MiB", "64KiB", 1048576],
    )
    workers: Annotated[int, whole(1, 256)] = Field(
        default=1,
        description=(
            "The number of server processes; each starts its own instance of every plugin. More processes than "
            "processors bring no benefit."
        ),
        examples=[1, 4],
    )
    shutdown_timeout: Duration = Field(
        default=1.0,
        description="How long requests in flight may continue after shutdown begins.",
        examples=["1s", "500ms"],
    )
    head_timeout: Duration = Field(
        default=20.0,
        description=(
            "How long a client may take to send the head of a request, from its first byte; on a new connection from "
            "the start."
        ),
        examples=["20s"],
    )
    body_timeout: Duration = Field(
        default=30.0,
        description=(
            "How long a client may take for each 64 KiB of a request body, and how long it may read nothing of a "
            "response."
        ),
        examples=["30s"],
    )
    keep_alive_timeout: Duration = Field(
        default=75.0,
        description=(
            "How long a connection may be idle between two requests. A proxy must close idle connections earlier "
            "(nginx: after 60 s), or it may send a request on a connection that the server is closing."
        ),
        examples=["75s"],
    )
    max_connections: Annotated[int, whole(1, 1_000_000)] | None = Field(
        default=None,
        description=(
            "How many connections each server process keeps open; beyond that, new ones only get /healthz and "
            "/readyz. null stands for three quarters of the files that the process may open."
        ),
        examples=[1000],
    )
    allowed_hosts: tuple[Annotated[str, BeforeValidator(read_host)], ...] = Field(
        default=(),
        description=(
            "The names for which the server answers: requests with another name in the Host field are 421. "
            "*.example.com stands for all names below it, and * for all names. IP addresses are always allowed, and "
            "so is localhost if the server listens on a loopback address. The default allows nothing else there, and "
            "everything on other addresses."
        ),
        examples=[["weather.example.com"]],
    )


class DiscoveryConfig(Model):
    """Directories in which the host finds plugins that the configuration does not list."""

    enabled: Switch = Field(default=True, description="Whether to search the directories.")
    directories: tuple[
        Annotated[Path, BeforeValidator(read_path), WithJsonSchema({"type": "string", "minLength": 1})], ...
    ] = Field(
        default=(),
        description="The directories to search for plugins. Relative paths start at the directory of this file.",
        examples=[["./plugins", "./external_plugins"]],
    )
    recursive: Switch = Field(default=False, description="Whether to search subdirectories as well.")


def _isolation_of(data: dict[str, Any]) -> Isolation:
    return "thread" if data.get("plugin_type") == "builtin" else Settings.isolation


def _default_of(name: str) -> Callable[[dict[str, Any]], Any]:
    """Creates the default factory of a field whose default depends on the isolation."""
    return lambda data: getattr(defaults_of(data["isolation"]), name)


class PluginConfig(Model):
    """One plugin."""

    enabled: Switch = Field(default=True, description="Whether the plugin is started.")
    plugin_type: Annotated[Literal["external", "builtin"], choice("external", "builtin")] = Field(
        default="external", description="A compiled library (external) or a Python object (builtin)."
    )
    path: Annotated[Path | str | None, WithJsonSchema({"type": ["string", "null"], "minLength": 1})] = Field(
        default=None,
        description=(
            "external: the library or its stem: ./plugins/weather stands for libweather.so, libweather.dylib or "
            "weather.dll; a relative path starts at the directory of this file; without a path, plugin_discovery "
            "must find a plugin of this name. builtin: the object to import, as package.module:Name; without a path, "
            "the program must register the plugin."
        ),
        examples=["./plugins/weather", "package.module:Name"],
    )
    isolation: Annotated[Isolation, choice("none", "thread", "process")] = Field(
        default_factory=_isolation_of,
        description=(
            "Where calls run: in worker processes, so that a crash or a hang does not affect the host (process); in "
            "worker threads (thread); or in the caller's thread, where the host cannot enforce a timeout (none). "
            "The default of a builtin plugin is thread."
        ),
        json_schema_extra={"default": Settings.isolation},
    )
    workers: Annotated[int, whole(1, 256)] = Field(
        default_factory=_default_of("workers"),
        description=(
            "The maximum number of calls that run at the same time, each in its own worker process (isolation "
            f"process, default 1) or worker thread (isolation thread, default {defaults_of('thread').workers})."
        ),
        examples=[4],
    )
    timeout: Duration | None = Field(
        default_factory=_default_of("timeout"),
        description=(
            "How long a call may take; null means no limit. With isolation none the plugin receives the deadline, but "
            "the host cannot stop the call."
        ),
        examples=["2s", "500ms", 30],
        json_schema_extra={"default": Settings().timeout},
    )
    queue: Annotated[int, whole(0, 100_000)] = Field(
        default=Settings.queue,
        description=(
            "How many calls may wait for a worker; the server rejects further requests with 503. With isolation none "
            "calls never wait."
        ),
        examples=[64],
    )
    restart: RestartSection = Field(
        default=Settings.restart, description="How the host replaces worker processes that have ended."
    )
    breaker: BreakerOrFalse = Field(
        default_factory=_default_of("breaker"),
        description=(
            "When to reject calls because previous ones failed; false turns the circuit breaker off, which is the "
            "default with isolation none, where it would slow down every call."
        ),
        json_schema_extra={"default": asdict(Breaker())},
    )
    start_timeout: Duration = Field(
        default=Settings.start_timeout,
        description="How long a worker process may take to start and initialise its plugin; isolation process only.",
        examples=["10s"],
    )
    health_check: Duration | None = Field(
        default=Settings.health_check,
        description="The interval between health checks, if the plugin supports them; null checks only for /readyz.",
        examples=["10s"],
    )
    limits: LimitsSection = Field(
        default=Settings.limits, description="The resource limits of one worker process; isolation process only."
    )
    environment: tuple[VariableName, ...] = Field(
        default=Settings.environment,
        description="The names of the environment variables that worker processes receive; isolation process only.",
        examples=[["LANG", "TZ"]],
    )
    critical: Switch = Field(
        default=Settings.critical,
        description="Whether startup fails if the plugin fails to start; if false, only its endpoints fail, with 503.",
    )
    config: Annotated[dict[str, Any], AfterValidator(read_settings), SECTION] = Field(
        default_factory=dict,
        description=(
            "The plugin's own configuration, as its manifest describes it. A value whose schema has "
            '"format": "path" is relative to the directory of this file.'
        ),
        examples=[{"reports": "./reports.txt", "api_key": "${WEATHER_API_KEY}"}],
    )

    @property
    def settings(self) -> Settings:
        """The settings with which the plugin runs."""
        return Settings(**{each.name: getattr(self, each.name) for each in fields(Settings)})

    @field_validator("path", mode="before")
    @classmethod
    def _path(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            return None
        return read_import(value) if info.data.get("plugin_type") == "builtin" else read_path(value, info)

    @field_serializer("breaker", mode="wrap")
    def _no_breaker(self, value: object, handler: SerializerFunctionWrapHandler) -> object:
        return False if value is None else handler(value)


class RuntimeConfig(Model):
    """The handler of an endpoint."""

    type: Annotated[Literal["plugin"], choice("plugin")] = Field(default="plugin", description="A plugin.")
    handler: Annotated[str, text("the name of a plugin")] = Field(
        description="The name of the plugin that handles the requests.", examples=["weather"]
    )


# The first alternative is for completion in editors.
_METHOD: dict[str, Any] = {
    "anyOf": [{"enum": list(METHODS)}, {"type": "string", "pattern": rf"^({TOKEN.pattern}|.*\$\{{.*\}}.*)$"}]
}


def _endpoint_schema(schema: dict[str, Any]) -> None:
    methods = schema["properties"]["methods"]
    methods["description"] = "The HTTP methods of the endpoint; the default is GET."
    schema["properties"]["method"] = {
        **_METHOD,
        "title": "Method",
        "description": "The only HTTP method of the endpoint; a short form of methods.",
        "default": "GET",
        "examples": ["GET", "POST"],
    }
    schema["not"] = {"required": ["method", "methods"]}


class EndpointConfig(Model):
    """One route of the HTTP server."""

    model_config = ConfigDict(json_schema_extra=_endpoint_schema)

    methods: Annotated[
        tuple[Annotated[str, BeforeValidator(read_method), WithJsonSchema(_METHOD)], ...], AfterValidator(read_methods)
    ] = Field(default=("GET",), description="The HTTP methods, in upper case.", examples=[["GET", "POST"]])
    runtime: RuntimeConfig = Field(
        description="What handles the requests.", examples=[{"type": "plugin", "handler": "weather"}]
    )
    data: Annotated[Literal["request", "body"], choice("request", "body")] = Field(
        default="request",
        description="What the plugin receives: the request as JSON, or the unchanged bytes of its body.",
    )
    timeout: Duration | None = Field(
        default=None,
        description="How long a call from this endpoint may take; the default is the plugin's timeout.",
        examples=["500ms"],
    )
    retry: Annotated[int, whole(0, 10)] = Field(
        default=0,
        description=(
            "How often to retry a call whose worker process died, or that was rejected before it began, for at most a "
            "second. Only for requests that are safe to repeat."
        ),
        examples=[1],
    )
    description: Annotated[str, text("a string that is not empty")] | None = Field(
        default=None,
        description="A sentence for the documentation of the API.",
        examples=["The latest report of a station."],
    )

    @model_validator(mode="before")
    @classmethod
    def _one_method(cls, value: object) -> object:
        if isinstance(value, Mapping) and "method" in value:
            others = {key: item for key, item in value.items() if key != "method"}
            return {"methods": [value["method"]], **others}
        return value


_EXTENSION = "Ignored: a place for anchors that the rest of the file uses."


class Config(Model):
    """The configuration of a Backworks host."""

    model_config = ConfigDict(
        title="Backworks configuration", json_schema_extra={"patternProperties": {"^x-": {"description": _EXTENSION}}}
    )

    server: Annotated[ServerConfig, SECTION] = Field(
        default=ServerConfig(), description="The settings of the HTTP server."
    )
    plugin_discovery: Annotated[DiscoveryConfig, SECTION] = Field(
        default=DiscoveryConfig(), description="The directories to search for plugins; none by default."
    )
    plugins: Annotated[dict[str, Annotated[PluginConfig, SECTION]], SECTION] = Field(
        default_factory=dict,
        description="The plugins, each under the name that endpoints use for it.",
        examples=[{"weather": {"path": "./plugins/weather", "timeout": "2s", "config": {}}}],
    )
    endpoints: Annotated[dict[str, EndpointConfig], SECTION] = Field(
        default_factory=dict,
        description="The routes, each under its path: /api/weather/{station} matches any station.",
        json_schema_extra={"propertyNames": {"pattern": r"^/"}},
        examples=[{"/api/weather/{station}": {"runtime": {"type": "plugin", "handler": "weather"}}}],
    )

    _source: Source = PrivateAttr(default_factory=lambda: Source(None, Path.cwd()))

    def model_post_init(self, context: Any) -> None:
        """Keeps the source that the loader passes in the context."""
        if context:
            self._source = context["source"]

    @property
    def source(self) -> Source:
        """The positions of the values in the file, for error messages."""
        return self._source
