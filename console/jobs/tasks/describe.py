"""What methods and attacks say of themselves, as data: for listings, the ledger and the report."""

from __future__ import annotations

from typing import Any

from console.attacks import registry as attack_registry
from console.attacks.protocol import Attack, AttackSettings
from console.attacks.suite import whole_budget
from console.domain.engine_names import EngineName
from console.domain.suites import STANDARD, SUITES
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.worker import EventWriter
from console.methods import registry as method_registry
from console.methods.protocol import Method
from console.methods.recipe import RecipeMethod


def describe_attack(attack: Attack, settings: AttackSettings) -> dict[str, Any]:
    info = attack.info
    return {
        "id": info.id,
        "title": info.title,
        "definition": info.definition,
        "source": info.source,
        "access": info.access.value,
        "evidence": info.evidence.value,
        "budget": whole_budget(attack, settings),
        "needs": sorted(need.value for need in info.needs),
    }


def describe_method(method: Method) -> dict[str, Any]:
    """What a method says of itself; a recipe's stages, each with the method's own words, stand under ``stages``."""
    info = method.info
    stages = method.stages if isinstance(method, RecipeMethod) else ()
    told = [
        {
            "name": stage.name,
            "method": stage.method.info.id,
            "title": stage.method.info.title,
            "claim": stage.method.info.claim.value,
            "source": stage.method.info.source,
        }
        for stage in stages
    ]
    return {
        **({"stages": told} if told else {}),
        "id": info.id,
        "title": info.title,
        "summary": info.summary,
        "family": info.family.value,
        "claim": info.claim.value,
        "source": info.source,
        "needs": sorted(need.value for need in info.needs),
        "needs_snapshot": info.needs_snapshot,
        "needs_training_data": info.needs_training_data,
    }


def describe(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Every method with its configuration's JSON schema, and every attack with its budget in the standard suite."""
    del spec, payload
    writer.progress(0, 1, "Reading the registries")
    methods = [
        {**describe_method(method), "config": method.config_class.model_json_schema()}
        for method in method_registry.available().values()
    ]
    settings = AttackSettings(**STANDARD.settings)
    attacks = [
        {
            **describe_attack(attack, settings),
            "suites": [plan.name for plan in SUITES.values() if attack.info.id in plan.run_by(EngineName.BOTH).attacks],
        }
        for attack in attack_registry.available().values()
    ]
    return {"methods": methods, "attacks": attacks}
