"""Tests in which vendors' own SDKs judge the gateway."""
