"""The kinds of faults: each does its worst to a scene, and leaves three workers behind that may go on."""

import itertools
import random
import signal
import time
from collections.abc import Callable
from functools import partial

from benchmarks.chaos.scene import Scene
from stream_twin.clock import elapsed
from stream_twin.kafka.failures import ExitCode

FROZEN_S = 9.0
"""Longer than the group's session time-out of 6 s: another worker has the lanes when the frozen one goes on."""
OUTPUT_TOPICS = ("twin.inputs", "twin.state", "twin.estimates", "alerts", "learning.examples", "dead.letters")
_NEXT_TOPIC = {why: itertools.cycle(OUTPUT_TOPICS) for why in ("size", "time")}
EXTRA = 9
"""Slot of a worker that joins."""


def killed(scene: Scene) -> None:
    scene.workers.running[scene.pick()].send(signal.SIGKILL)
    scene.wait(0.2, 3)
    scene.workers.revive()


def two_killed(scene: Scene) -> None:
    for _ in range(2):
        scene.workers.running[scene.pick()].send(signal.SIGKILL)
        scene.wait(0.1, 1)
    scene.workers.revive()


def terminated(scene: Scene) -> None:
    slot = scene.pick()
    scene.workers.end(slot, signal.SIGTERM)
    scene.workers.start(slot)


def frozen(scene: Scene) -> None:
    worker = scene.workers.running[scene.pick()]
    worker.send(signal.SIGSTOP)
    time.sleep(FROZEN_S)
    worker.send(signal.SIGCONT)
    scene.wait(0.5, 2)
    scene.workers.revive()


def joined(scene: Scene) -> None:
    scene.workers.start(EXTRA)
    scene.wait(5, 8)
    scene.workers.end(EXTRA, scene.draws.choice([signal.SIGTERM, signal.SIGKILL]))


def left(scene: Scene) -> None:
    slot = scene.pick()
    scene.workers.end(slot, signal.SIGTERM)
    scene.wait(3, 6)
    scene.workers.start(slot)


def broker_killed(scene: Scene, away_s: float | None = None) -> None:
    scene.kafka.kill()
    time.sleep(away_s or scene.draws.choice([0.0, 3.0, 15.0]))
    scene.kafka.start()


def broker_restarted(scene: Scene) -> None:
    scene.kafka.stop()
    scene.kafka.start()


def terminated_without_broker(scene: Scene) -> None:
    """It has nothing to wait for: it stops at once, and what it had not committed is done again."""
    scene.kafka.kill()
    scene.wait(0.2, 4)
    slot = scene.pick()
    scene.workers.end(slot, signal.SIGTERM)
    scene.kafka.start()
    scene.workers.start(slot)


def cut(scene: Scene) -> None:
    scene.proxy.hold(scene.draws.choice([2.0, FROZEN_S, 18.0]))


def slowed(scene: Scene) -> None:
    scene.proxy.delay_s = scene.draws.choice([0.05, 0.3])
    scene.wait(6, 9)
    scene.proxy.delay_s = 0.0


def reset(scene: Scene) -> None:
    for _ in range(scene.draws.randrange(1, 8)):
        scene.proxy.reset()
        scene.wait(0.0, 0.8)


def full_outbox(scene: Scene) -> None:
    slot = scene.pick()
    scene.workers.end(slot, signal.SIGTERM)
    scene.workers.start(slot, "--outbox", "2000")
    scene.wait(8, 10)
    scene.workers.end(slot, signal.SIGTERM)
    scene.workers.start(slot)


def refused(scene: Scene, why: str) -> None:
    slot, topic = scene.pick(), next(_NEXT_TOPIC[why])
    scene.workers.end(slot, signal.SIGTERM)
    worker = scene.workers.start(slot, "--refuse", f"{topic}:{why}", may={ExitCode.FAILED})
    deadline = elapsed() + 75  # a learning example comes once a minute
    while worker.process.poll() is None and elapsed() < deadline:
        time.sleep(0.2)
    if worker.process.poll() != ExitCode.FAILED:
        scene.wrong.append(f"a refused record of {topic} ({why}) did not stop the worker:\n{worker.log[-2000:]}")
        scene.workers.end(slot, signal.SIGTERM)
        scene.workers.start(slot)
    scene.workers.revive()


def failing_update(scene: Scene) -> None:
    for _ in range(scene.draws.randrange(1, 4)):
        scene.load.poison()
    scene.wait(1, 2)


def hit_in_a_transaction(scene: Scene, point: str, how: signal.Signals) -> None:
    slot = scene.pick()
    scene.workers.end(slot, signal.SIGTERM)
    worker = scene.workers.start(slot, "--at", f"{point}:{how.name}")
    deadline = elapsed() + 40
    while worker.process.poll() is None and not worker.is_frozen and elapsed() < deadline:
        time.sleep(0.05)
    if worker.process.poll() is None and not worker.is_frozen:
        scene.wrong.append(f"no transaction reached {point} within 40 s")
    if worker.is_frozen:
        time.sleep(FROZEN_S)
        worker.send(signal.SIGCONT)
        scene.wait(0.5, 2)
    scene.workers.revive()


def nobody(scene: Scene, for_s: float = 8.0, how: signal.Signals = signal.SIGKILL) -> None:
    """Nobody is there, and whoever comes has nothing but what is in Kafka: directories go with their workers."""
    slots = list(scene.workers.running)
    for slot in slots:
        scene.workers.end(slot, how)
    time.sleep(for_s)
    for slot in slots:
        scene.workers.start(slot)


def rested(scene: Scene) -> None:
    """The group's offsets are gone, as after a rest for longer than a broker keeps them."""
    slots = list(scene.workers.running)
    for slot in slots:
        scene.workers.end(slot, signal.SIGTERM)
    deadline = elapsed() + 20
    while scene.members() and elapsed() < deadline:
        time.sleep(0.5)
    scene.broker.admin.delete_consumer_groups([scene.group])[scene.group].result()
    for slot in slots:
        scene.workers.start(slot)


def upgraded(scene: Scene) -> None:
    """One after the other becomes a version with the next schema. An old one that gets what a new one wrote must stop, loudly."""
    workers = scene.workers
    workers.may |= {ExitCode.FAILED}
    for slot in scene.draws.sample(list(workers.running), len(workers.running)):
        workers.end(slot, signal.SIGTERM)
        workers.upgraded.add(slot)
        workers.start(slot)
        for _ in range(3):
            scene.wait(1, 3)
            workers.revive()
    scene.settle()
    workers.may -= {ExitCode.FAILED}


Fault = Callable[[Scene], None]
FAULTS: dict[str, Fault] = {
    "SIGKILL": killed,
    "SIGKILL of two": two_killed,
    "SIGTERM": terminated,
    "SIGTERM with the broker away": terminated_without_broker,
    "SIGSTOP past the session": frozen,
    "SIGSTOP in a broadcast": partial(hit_in_a_transaction, point="broadcast-open", how=signal.SIGSTOP),
    "SIGSTOP in a transaction": partial(hit_in_a_transaction, point="commit-open", how=signal.SIGSTOP),
    "SIGKILL in a broadcast": partial(hit_in_a_transaction, point="broadcast-open", how=signal.SIGKILL),
    "SIGKILL after a broadcast": partial(hit_in_a_transaction, point="broadcast-done", how=signal.SIGKILL),
    "SIGKILL in a transaction": partial(hit_in_a_transaction, point="commit-open", how=signal.SIGKILL),
    "SIGKILL after a transaction": partial(hit_in_a_transaction, point="commit-done", how=signal.SIGKILL),
    "worker joins and goes": joined,
    "worker leaves": left,
    "broker SIGKILL": broker_killed,
    "broker restart": broker_restarted,
    "connection cut": cut,
    "connection slow": slowed,
    "connection reset": reset,
    "outbox full": full_outbox,
    "record refused: too large": partial(refused, why="size"),
    "record refused: timestamp": partial(refused, why="time"),
    "update raises": failing_update,
    "no worker": nobody,
    "empty disk": partial(nobody, for_s=0.0, how=signal.SIGTERM),
    "group's offsets gone": rested,
}
UPGRADE = "schema upgrade"
"""The last of an epoch: there is no way back."""


def order(draws: random.Random, rounds: int, epoch: int) -> list[str]:
    """Names of so many faults: every kind before any comes again, an upgrade at the end of each epoch."""
    names: list[str] = []
    bag: list[str] = []
    for number in range(1, rounds + 1):
        if number % epoch == 0:
            names.append(UPGRADE)
            continue
        if not bag:
            bag = draws.sample(list(FAULTS), len(FAULTS))
        names.append(bag.pop())
    return names
