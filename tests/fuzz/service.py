"""Requests made up from the service's OpenAPI document, by schemathesis: none may end in a 5xx.

`python -m tests.fuzz.service --examples 100` (`nox -s service_fuzz`); a test runs it with a few.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import schemathesis

from converter.service.app import create_app
from tests.unit.service import client, hub_instance, service, uploaded


def failures(folder: Path, *, examples: int, only: str = "") -> tuple[Counter[int], list[str]]:
    """How many answers there were of each status, and each route whose answer was a 5xx, with its cause.

    Every second request names something that is there: a made-up name ends in 404 before anything else.
    """
    statuses: Counter[int] = Counter()
    found: list[str] = []
    with service(folder, wait_database_s=0.0) as context:
        http = client(context)
        headers = dict(http.headers)
        schema = schemathesis.openapi.from_asgi(
            "/openapi.json", create_app(context), headers={"Authorization": headers["authorization"]}
        )
        there = _there(http)
        for result in schema.get_all_operations():
            operation = result.ok()
            # A stream of events of a conversion that goes on has no end.
            if operation.path.startswith(only) and not operation.path.endswith("/events"):
                try:
                    _ask(operation, headers["authorization"], there, statuses, examples)
                except Exception as error:  # each route is told, not the first alone
                    found.append(f"{operation.label}: {type(error).__name__}: {error}"[:3000])
    return statuses, found


def _there(http: Any) -> dict[str, str]:
    """Things of the tenant's, by the first words of the routes that name them."""
    instance = hub_instance(http)
    row = http.get(f"/models/api/v1/modelInstances/{instance}").json()
    digest = uploaded(http)
    http.put("/v1/conversions/there", json={"source": digest, "target": "rvc2"})
    body = {"name": "part", "size": 10, "digest": f"sha256:{'1' * 64}"}
    return {
        "/models/api/v1/models/": row["model_id"],
        "/models/api/v1/modelVersions/": row["model_version_id"],
        "/models/api/v1/modelInstances/": instance,
        "/v1/conversions/": "there",
        "/v1/uploads/": http.post("/v1/uploads", json=body).json()["id"],
    }


def _ask(
    operation: Any, key: str, there: Mapping[str, str], statuses: Counter[int], examples: int
) -> None:
    """Send requests to one route.

    Raises:
        AssertionError: An answer was a 5xx.
    """
    known = next((name for place, name in there.items() if operation.path.startswith(place)), None)
    deletes = operation.method.upper() == "DELETE"

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(), is_there=st.booleans())
    def ask(case: Any, is_there: bool) -> None:
        if is_there and known and not deletes and case.path_parameters:
            first = next(iter(case.path_parameters))
            case.path_parameters = {**case.path_parameters, first: known}
        if "wait" in (case.query or {}):
            case.query = {**case.query, "wait": 0}
        answer = case.call(headers={"Authorization": key})
        statuses[answer.status_code] += 1
        if answer.status_code >= 500:
            raise AssertionError(
                f"{answer.status_code} {answer.text[:500]} for {case.as_curl_command()}"
            )

    ask()


def main() -> int:
    """Exit status 1 if any request ended in a 5xx."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--only", default="", help="paths that begin so")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        statuses, found = failures(Path(folder) / "data", examples=given.examples, only=given.only)
    print(f"{sum(statuses.values())} requests:", dict(sorted(statuses.items())))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
