"""The mechanical watchdog policy of VerMAS."""
