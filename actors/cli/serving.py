"""Bring together what a server consists of: the supervisor and the server know neither HTTP nor the Registry."""

from typing import Any

from callboard.actors.registry import RegistryActor
from callboard.actors.server import ServerContext, Serving
from callboard.actors.store.opening import preload
from callboard.conf.settings import Settings
from callboard.http.app import create_app
from callboard.http.auth import check_exposure


def make_serving(settings: Settings) -> Serving:
    """Return what to serve. Raises `SettingsError` when the settings would expose the server without a token."""
    check_exposure(settings)
    preload(settings.store_url)
    return Serving(
        data_dir=settings.data_dir.absolute(),
        host=settings.http.host,
        port=settings.http.port,
        store_url=settings.store_url,
        grace_seconds=settings.shutdown.grace_seconds,
        registry_class=RegistryActor,
        make_app=make_app,
        settings=settings,
        registry_settings=settings.model_dump(mode="json"),
    )


def make_app(context: ServerContext) -> Any:
    """Return the HTTP application of a server that has just come up."""
    return create_app(
        context.settings,
        context.actor_system,
        context.registry,
        context.runtime.store_url,
        context.runtime.pids.get("registry"),
    )
