"""Rules of faults: what goes wrong with which requests.

    drop_after_effect:method=POST,path=/qtrees,times=1
    status:status=503,every=10
    slow_body:probability=0.1

A rule is an action and what it is limited to. The first rule that matches a request decides.
"""

import random
import re
import threading
import time
from dataclasses import dataclass, field

from simulators.serving import Ask, Faults

#: What an action does, by the words of `serving`.
ACTIONS = {
    "delay": "delay",
    "drop_after_effect": "drop after",
    "drop_before": "drop before",
    "empty_200": "empty",
    "expire_all_tokens": "expire",
    "html_502": "html 502 before",
    "html_502_after_effect": "html 502 after",
    "slow_body": "slow",
    "status": "status",
    "stuck_body": "stuck",
    "truncate": "truncate",
    "wrong_json": "wrong json",
}
_SECONDS, _STATUS = 5.0, 503


class WrongRule(ValueError):
    """The text is no rule; the words say why."""


@dataclass
class Rule:
    """One rule; numbers count the requests that its method and its path match."""

    action: str
    method: str = ""
    path: str = ""
    nth: int = 0
    every: int = 0
    after_s: float = 0.0
    probability: float = 1.0
    times: int = 0
    #: What an action needs: a status, or seconds of a delay.
    status: int = _STATUS
    seconds: float = _SECONDS
    _seen: int = field(default=0, repr=False)
    _done: int = field(default=0, repr=False)

    @property
    def kind(self) -> str:
        """The fault in the words of `serving`."""
        kind = ACTIONS[self.action]
        return {"status": f"status {self.status}", "delay": f"delay {self.seconds}"}.get(kind, kind)

    def matches(self, ask: Ask, age_seconds: float, chance: float) -> bool:
        """Whether the request suffers; it is counted."""
        if self.method not in ("", ask.method) or not re.search(self.path, ask.path):
            return False
        self._seen += 1
        suffers = (
            age_seconds >= self.after_s
            and (not self.nth or self._seen == self.nth)
            and (not self.every or self._seen % self.every == 0)
            and chance < self.probability
            and (not self.times or self._done < self.times)
        )
        self._done += suffers
        return suffers


def parsed(text: str) -> Rule:
    """Return the rule of a text.

    Raises:
        WrongRule: no such action, no such limit, or a wrong number.
    """
    action, _, rest = text.partition(":")
    if action not in ACTIONS:
        raise WrongRule(f"{action!r} is no action; actions are: {', '.join(ACTIONS)}.")
    rule = Rule(action)
    for word in filter(None, rest.split(",")):
        name, _, value = word.partition("=")
        known = [key for key in vars(rule) if not key.startswith("_") and key != "action"]
        if name not in known:
            raise WrongRule(f"{name!r} is no limit of a rule; limits are: {', '.join(known)}.")
        try:
            setattr(rule, name, type(getattr(rule, name))(value))
            re.compile(rule.path)
        except (ValueError, re.error) as error:
            raise WrongRule(f"{word!r}: {error}.") from error
    return rule


class RuledFaults(Faults):
    """Faults by rules, and none by chance."""

    def __init__(self, rules: list[Rule], seed: int = 0) -> None:
        super().__init__(seed)
        self._rules = rules
        self._dice = random.Random(seed)
        self._began = time.monotonic()
        self._counting = threading.Lock()

    def of(self, ask: Ask) -> str:
        """What befalls a request; empty: nothing."""
        with self._counting:
            age = time.monotonic() - self._began
            for rule in self._rules:
                if rule.matches(ask, age, self._dice.random()):
                    return rule.kind
        return super().of(ask)
