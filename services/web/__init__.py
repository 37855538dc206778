"""The parts that both HTTP services have: the app, its middleware, errors, schemas, uploads and metrics."""
