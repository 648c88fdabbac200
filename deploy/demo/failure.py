"""Why a demonstration ends early."""


class DemoFailed(Exception):
    """Something did not hold, or an answer was not the expected one; one sentence, maybe a list."""
