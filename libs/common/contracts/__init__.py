"""The messages on Kafka: the only thing that services and analysts need to know of each other."""
