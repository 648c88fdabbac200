"""Settings of what is kept and for how long: the trash, and the periodic looks at volumes."""

from core.settings.reference import Table


class TrashTable(Table, frozen=True):
    """`[vfolder.trash]`: what becomes of deleted vfolders."""

    #: A deleted vfolder can be restored for this long; 0 purges at once. A request may say else.
    keep_seconds: float = 0.0
    #: Entries that one purge removes per second; 0 does not hold it back.
    purge_entries_per_second: float = 0.0


class SweepsTable(Table, frozen=True):
    """`[vfolder.sweeps]`: periodic upkeep of the volumes."""

    #: Each volume is rescanned about this often, give or take a tenth; 0 never does.
    rescan_seconds: float = 86_400.0
