"""The matrix of access: every route of every door, every verb, by every subject and credential.

All of it at one client door and on one connection, so the cells are cheap. The tests are in the
modules beside this one, each with its rows.
"""

from tests.api.people.matrix.deed_cells import test_what_is_allowed_happens_and_nothing_else
from tests.api.people.matrix.links import made_links, test_a_link_gives_what_it_is_worth
from tests.api.people.matrix.manager_door import manager_line, test_nothing_but_the_secret_opens_it
from tests.api.people.matrix.routes import (
    test_each_subject_gets_what_the_table_says,
    test_what_is_hidden_looks_as_if_it_were_absent,
)
from tests.api.people.matrix.tables import (
    test_each_route_of_the_client_door_is_in_a_table,
    test_each_row_has_the_act_of_its_route,
    test_what_needs_no_credential_is_written_down,
)
from tests.api.people.matrix.tickets import (
    test_a_ticket_is_worth_what_its_holder_has_now,
    test_what_is_no_ticket_for_it_opens_nothing,
)
from tests.api.people.matrix.verbs import (
    decisions_of_a_worker,
    test_a_worker_decides_as_the_table_says,
    test_each_act_is_in_a_cell,
    test_each_verb_is_in_the_table,
    vfolders_to_write_to,
)

__all__ = [
    "decisions_of_a_worker",
    "made_links",
    "manager_line",
    "test_a_link_gives_what_it_is_worth",
    "test_a_ticket_is_worth_what_its_holder_has_now",
    "test_a_worker_decides_as_the_table_says",
    "test_each_act_is_in_a_cell",
    "test_each_route_of_the_client_door_is_in_a_table",
    "test_each_row_has_the_act_of_its_route",
    "test_each_subject_gets_what_the_table_says",
    "test_each_verb_is_in_the_table",
    "test_nothing_but_the_secret_opens_it",
    "test_what_is_allowed_happens_and_nothing_else",
    "test_what_is_hidden_looks_as_if_it_were_absent",
    "test_what_is_no_ticket_for_it_opens_nothing",
    "test_what_needs_no_credential_is_written_down",
    "vfolders_to_write_to",
]
