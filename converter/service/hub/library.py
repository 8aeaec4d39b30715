"""A tenant's models, their variants, and the instances (files) of those: rows, and nothing of HTTP.

An id or a slug names a resource everywhere: the client takes a slug that begins with `ai` and has a `_`
for an id, and sends it as one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from converter.jobs.database import reading, writing
from converter.service.hub.names import Kind, file_stem, model_slug, new_id
from converter.service.tables import HUB_INSTANCES, HUB_MODELS, HUB_VARIANTS

Row = Mapping[str, Any]
# What a client may change of a model.
_CHANGES: Final = (
    *("name", "license_type", "is_public", "description", "description_short"),
    *("architecture_id", "tasks", "links"),
)
_TABLES: Final[Mapping[Kind, Table]] = {
    "model": HUB_MODELS,
    "variant": HUB_VARIANTS,
    "instance": HUB_INSTANCES,
}
_SORTED: Final = ("name", "created", "updated", "version")


class NotFoundError(Exception):
    """There is no such resource, or it is another tenant's."""


class ExistsError(Exception):
    """A model of that slug exists: the client then looks it up by itself."""


@dataclass(frozen=True)
class Library:
    """The resources of one tenant; no method sees another's."""

    engine: Engine
    tenant: str

    def create_model(self, body: Mapping[str, Any]) -> Row:
        """A model.

        Raises:
            ExistsError: There is one of that slug.
        """
        name = str(body["name"])
        row = {
            "id": new_id("model"),
            "name": name,
            "slug": model_slug(name),
            "body": {key: body.get(key) for key in _CHANGES if key != "name"},
        }
        try:
            return self._insert(HUB_MODELS, row)
        except IntegrityError as error:
            raise ExistsError(name) from error

    def create_variant(self, body: Mapping[str, Any]) -> Row:
        """A variant of a model; the same version may come twice, for two clients count alike."""
        model = self.get("model", str(body["model_id"]))
        name, version = str(body["name"]), str(body.get("version") or "0.1.0")
        row = {
            "id": new_id("variant"),
            "model_id": model["id"],
            "name": name,
            "slug": f"{model_slug(name)}-{version}",
            "variant_slug": model_slug(name),
            "version": version,
            "body": {"tags": list(body.get("tags") or ()), "description": body.get("description")},
        }
        return self._insert(HUB_VARIANTS, row)

    def create_instance(
        self,
        body: Mapping[str, Any],
        *,
        parent: str | None = None,
        job_id: str | None = None,
        stem: str | None = None,
        warnings: Sequence[str] = (),
    ) -> Row:
        """An instance of a variant: a file that is to be uploaded, or that a job will make.

        Args:
            stem: What its slug begins with, if not its name.
            warnings: What of the export has no effect; told when its job has succeeded.
        """
        variant = self.get("variant", str(body["model_version_id"]))
        name, instance = str(body["name"]), new_id("instance")
        row = {
            "id": instance,
            "model_id": variant["model_id"],
            "variant_id": variant["id"],
            "parent_id": parent or body.get("parent_id"),
            "name": name,
            # The client keeps a file of that name as its result: no two are the same.
            "slug": f"{file_stem(stem or name)}-{instance[-7:]}",
            "model_type": str(body["model_type"]),
            "job_id": job_id,
            "body": {
                "tags": list(map(str, body.get("tags") or ())),
                "input_shape": body.get("input_shape"),
                "quantization_mode": body.get("quantization_mode"),
                "quantization_data": body.get("quantization_data"),
                "warnings": list(warnings),
            },
        }
        return self._insert(HUB_INSTANCES, row)

    def get(self, kind: Kind, name: str) -> Row:
        """A resource by its id or slug.

        Raises:
            NotFoundError: This tenant has none.
        """
        table = _TABLES[kind]
        named = [table.c.id == name, table.c.slug == name]
        query = select(table).where(table.c.tenant == self.tenant, or_(*named))
        with reading(self.engine) as rows:
            found = rows.execute(query.order_by(table.c.created.desc())).mappings().first()
        if found is None:
            raise NotFoundError(name)
        return dict(found)

    def find(
        self,
        kind: Kind,
        equal: Mapping[str, Any],
        *,
        search: str | None = None,
        sort: str = "updated",
        descending: bool = True,
        limit: int | None = None,
    ) -> list[Row]:
        """Resources whose columns are equal to values, or among them; in an order."""
        table = _TABLES[kind]
        query = select(table).where(table.c.tenant == self.tenant)
        for key, value in equal.items():
            column = table.c[key]
            several = isinstance(value, list | tuple | set)
            query = query.where(column.in_(list(value)) if several else column == value)
        if search:
            query = query.where(table.c.name.icontains(search, autoescape=True))
        by = table.c[sort if sort in _SORTED and sort in table.c else "updated"]
        query = query.order_by(by.desc() if descending else by, table.c.id)
        with reading(self.engine) as rows:
            return [dict(row) for row in rows.execute(query.limit(limit)).mappings()]

    def change_model(self, name: str, body: Mapping[str, Any]) -> Row:
        """Change some fields of a model; its slug stays."""
        model = self.get("model", name)
        said = {key: body[key] for key in _CHANGES if key in body}
        if said.get("name") is None:  # a name cannot be taken away
            said.pop("name", None)
        values = {"body": {**model["body"], **{k: v for k, v in said.items() if k != "name"}}}
        self._update(
            HUB_MODELS, model["id"], values | ({"name": said["name"]} if "name" in said else {})
        )
        return self.get("model", model["id"])

    def set_file(
        self, instance: str, *, digest: str, name: str, size: int, config: Mapping[str, Any] | None
    ) -> None:
        """The file of an instance is there; `config` is that of an archive."""
        values = {"file": digest, "file_name": name, "file_size": size, "config": config}
        self._update(HUB_INSTANCES, instance, values)

    def delete(self, kind: Kind, name: str) -> list[str]:
        """Delete a resource with all below it.

        Returns:
            The jobs of the instances that went, which may still run.
        """
        row = self.get(kind, name)
        column = {
            "model": HUB_INSTANCES.c.model_id,
            "variant": HUB_INSTANCES.c.variant_id,
            "instance": HUB_INSTANCES.c.id,
        }[kind]
        mine = (column == row["id"], HUB_INSTANCES.c.tenant == self.tenant)
        with writing(self.engine) as rows:
            jobs = rows.execute(select(HUB_INSTANCES.c.job_id).where(*mine)).scalars().all()
            rows.execute(delete(HUB_INSTANCES).where(*mine))
            if kind == "model":
                self._delete(rows, HUB_VARIANTS, HUB_VARIANTS.c.model_id == row["id"])
                self._delete(rows, HUB_MODELS, HUB_MODELS.c.id == row["id"])
            elif kind == "variant":
                self._delete(rows, HUB_VARIANTS, HUB_VARIANTS.c.id == row["id"])
        return [job for job in jobs if job]

    def _insert(self, table: Table, row: Mapping[str, Any]) -> Row:
        moment = time.time()
        empty = dict.fromkeys(table.c.keys())
        whole = {**empty, **row, "tenant": self.tenant, "created": moment, "updated": moment}
        with writing(self.engine) as rows:
            rows.execute(insert(table).values(whole))
        return whole

    def _update(self, table: Table, row_id: str, values: Mapping[str, Any]) -> None:
        mine = (table.c.id == row_id, table.c.tenant == self.tenant)
        with writing(self.engine) as rows:
            rows.execute(update(table).where(*mine).values(**values, updated=time.time()))

    def _delete(self, rows: Connection, table: Table, which: Any) -> None:
        rows.execute(delete(table).where(which, table.c.tenant == self.tenant))
