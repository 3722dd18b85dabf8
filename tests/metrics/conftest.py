"""The Kafka of the tests, for real workers that are scraped."""

from tests.kafka.conftest import broker, prefix

__all__ = ["broker", "prefix"]
