"""Instances on disk, so that they survive a crash: first in the journal, soon after as Part 10 files.

`Journal` takes them, one sync before the answer; `JournalReader` finds them; `InstanceStore.place` makes them files;
`backlog` says how much waits.
"""
