"""What a configuration may say: frozen models with a description of every field.

The models check one field at a time. What takes two of them to see (an endpoint and its plugin, say) is in
``checks``, so that a wrong field hides nothing else; :func:`backworks.config.load_config` and
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
from backworks.config.fields import (
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
    """Where and how HTTP is served."""

    host: Annotated[str, text("a host name or an IP address")] = Field(
        default="127.0.0.1",
        description="The address to listen at; 0.0.0.0 is every interface of the machine.",
        examples=["127.0.0.1", "::1"],
    )
    port: Annotated[int, whole(0, 65535)] = Field(
        default=8080, description="The TCP port to listen at; 0 takes a free one.", examples=[8080]
    )
    max_body: Size = Field(
        default=1 << 20,
        description="The largest body of a request; above it the answer is 413.",
        examples=["1MiB", "64KiB", 1048576],
    )
    workers: Annotated[int, whole(1, 256)] = Field(
        default=1,
        description=(
            "In how many processes requests are answered; each has all plugins, started for itself. More than there "
            "are processors is of no use."
        ),
        examples=[1, 4],
    )
    shutdown_timeout: Duration = Field(
        default=1.0,
        description="How long running requests may take after the server was told to stop.",
        examples=["1s", "500ms"],
    )


class DiscoveryConfig(Model):
    """Directories in which plugins are found without being named one by one."""

    enabled: Switch = Field(default=True, description="Whether the directories are looked through.")
    directories: tuple[
        Annotated[Path, BeforeValidator(read_path), WithJsonSchema({"type": "string", "minLength": 1})], ...
    ] = Field(
        default=(),
        description="Where to look for plugins. Relative paths start at the directory of this file.",
        examples=[["./plugins", "./external_plugins"]],
    )
    recursive: Switch = Field(default=False, description="Whether to look into the directories within them as well.")


def _isolation_of(data: dict[str, Any]) -> Isolation:
    return "thread" if data.get("plugin_type") == "builtin" else Settings.isolation


def _default_of(name: str) -> Callable[[dict[str, Any]], Any]:
    """Makes the default of a field that depends on the isolation."""
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
            "external: the library, or its stem: ./plugins/weather is libweather.so, libweather.dylib or "
            "weather.dll; a relative path starts at the directory of this file; without it, plugin_discovery has "
            "to find a plugin of this name. builtin: what to import, as package.module:Name; without it, the "
            "program registers it."
        ),
        examples=["./plugins/weather", "package.module:Name"],
    )
    isolation: Annotated[Isolation, choice("none", "thread", "process")] = Field(
        default_factory=_isolation_of,
        description=(
            "Where calls run: in processes of the plugin's own, where a crash or a hang does not reach the host "
            "(process), in threads of its own (thread), or in the caller's thread, where no timeout can be kept "
            "(none). A builtin plugin runs in threads without this."
        ),
        json_schema_extra={"default": Settings.isolation},
    )
    workers: Annotated[int, whole(1, 256)] = Field(
        default_factory=_default_of("workers"),
        description=(
            "How many calls run at the same time at most: under isolation process in as many processes (1 without "
            f"this), under isolation thread in as many threads ({defaults_of('thread').workers} without this)."
        ),
        examples=[4],
    )
    timeout: Duration | None = Field(
        default_factory=_default_of("timeout"),
        description=(
            "How long a call may take; null is for ever. Under isolation none the plugin is told, but not stopped."
        ),
        examples=["2s", "500ms", 30],
        json_schema_extra={"default": Settings().timeout},
    )
    queue: Annotated[int, whole(0, 100_000)] = Field(
        default=Settings.queue,
        description=(
            "How many calls may wait for their turn; above it the answer is 503. Under isolation none there is no "
            "queue: the threads of the caller are the limit."
        ),
        examples=[64],
    )
    restart: RestartSection = Field(
        default=Settings.restart, description="When a worker process that has ended is started again."
    )
    breaker: BreakerOrFalse = Field(
        default_factory=_default_of("breaker"),
        description=(
            "When calls are refused at once because those before them have failed; false is never, and so is the "
            "default under isolation none, where it makes every call dearer."
        ),
        json_schema_extra={"default": asdict(Breaker())},
    )
    start_timeout: Duration = Field(
        default=Settings.start_timeout,
        description="How long a worker process may take until its plugin is initialised; for isolation process.",
        examples=["10s"],
    )
    health_check: Duration | None = Field(
        default=Settings.health_check,
        description="How often the plugin is asked how it is, if it can be asked; null is only for /readyz.",
        examples=["10s"],
    )
    limits: LimitsSection = Field(
        default=Settings.limits, description="What one worker process may use; for isolation process."
    )
    environment: tuple[VariableName, ...] = Field(
        default=Settings.environment,
        description="The names of the environment variables that worker processes are given; for isolation process.",
        examples=[["LANG", "TZ"]],
    )
    critical: Switch = Field(
        default=Settings.critical,
        description="Whether the start fails if the plugin does; otherwise only its endpoints do, with 503.",
    )
    config: Annotated[dict[str, Any], AfterValidator(read_settings), SECTION] = Field(
        default_factory=dict,
        description=(
            "The plugin's own configuration, as its manifest describes it. Relative paths start at the directory of "
            'this file where the plugin\'s schema says "format": "path".'
        ),
        examples=[{"reports": "./reports.txt", "api_key": "${WEATHER_API_KEY}"}],
    )

    @property
    def settings(self) -> Settings:
        """How the plugin is run."""
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
    """Who answers an endpoint."""

    type: Annotated[Literal["plugin"], choice("plugin")] = Field(default="plugin", description="A plugin.")
    handler: Annotated[str, text("the name of a plugin")] = Field(
        description="The name of the plugin that answers.", examples=["weather"]
    )


def _endpoint_schema(schema: dict[str, Any]) -> None:
    methods = schema["properties"]["methods"]
    methods["description"] = "The HTTP methods that are answered; without this and method it is GET."
    schema["properties"]["method"] = {
        "type": "string",
        "title": "Method",
        "description": "The one HTTP method that is answered; instead of methods.",
        "default": "GET",
        "examples": ["GET", "POST"],
    }
    schema["not"] = {"required": ["method", "methods"]}


class EndpointConfig(Model):
    """One route of the HTTP server."""

    model_config = ConfigDict(json_schema_extra=_endpoint_schema)

    methods: Annotated[tuple[Annotated[str, BeforeValidator(read_method)], ...], AfterValidator(read_methods)] = Field(
        default=("GET",), description="The HTTP methods, in upper case.", examples=[["GET", "POST"]]
    )
    runtime: RuntimeConfig = Field(description="Who answers.", examples=[{"type": "plugin", "handler": "weather"}])
    data: Annotated[Literal["request", "body"], choice("request", "body")] = Field(
        default="request",
        description="What the plugin is given: the JSON of the request, or the body's bytes as they came.",
    )
    timeout: Duration | None = Field(
        default=None,
        description="How long a call by this endpoint may take; without it, what the plugin's timeout says.",
        examples=["500ms"],
    )
    retry: Annotated[int, whole(0, 10)] = Field(
        default=0,
        description=(
            "How often a call is tried again whose worker process died in it, or that was refused before it began, "
            "for at most a second. Only for requests that may have their effect twice."
        ),
        examples=[1],
    )
    description: Annotated[str, text("a text")] | None = Field(
        default=None,
        description="A sentence for the API's documentation.",
        examples=["The latest report of a station."],
    )

    @model_validator(mode="before")
    @classmethod
    def _one_method(cls, value: object) -> object:
        if isinstance(value, Mapping) and "method" in value:
            others = {key: item for key, item in value.items() if key != "method"}
            return {"methods": [value["method"]], **others}
        return value


class Config(Model):
    """The configuration of a Backworks host."""

    model_config = ConfigDict(title="Backworks configuration")

    server: Annotated[ServerConfig, SECTION] = Field(
        default=ServerConfig(), description="Where and how HTTP is served."
    )
    plugin_discovery: Annotated[DiscoveryConfig, SECTION] = Field(
        default=DiscoveryConfig(), description="Directories in which plugins are found; none by default."
    )
    plugins: Annotated[dict[str, Annotated[PluginConfig, SECTION]], SECTION] = Field(
        default_factory=dict,
        description="The plugins, each under the name that endpoints call it by.",
        examples=[{"weather": {"path": "./plugins/weather", "timeout": "2s", "config": {}}}],
    )
    endpoints: Annotated[dict[str, EndpointConfig], SECTION] = Field(
        default_factory=dict,
        description="The routes, each under its path: /api/weather/{station} takes any station.",
        examples=[{"/api/weather/{station}": {"runtime": {"type": "plugin", "handler": "weather"}}}],
    )

    _source: Source = PrivateAttr(default_factory=lambda: Source(None, Path.cwd()))

    def model_post_init(self, context: Any) -> None:
        """Keeps the source that the loader hands along."""
        if context:
            self._source = context["source"]

    @property
    def source(self) -> Source:
        """Where the values stand in the file: for messages about them."""
        return self._source
