"""The Huawei Public Cloud Trace 2025: read, aggregate, report.

The paper: Joosen et al., "Serverless Cold Starts and Where to Find Them", EuroSys 2025.
"""
