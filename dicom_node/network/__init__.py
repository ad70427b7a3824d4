"""Upper layer and DIMSE services: the storage SCP and SCU."""
