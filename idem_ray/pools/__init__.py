"""The actors that hold models: generator replicas and judge replicas, loaded once and shared by everything."""
