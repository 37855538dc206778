"""What both HTTP services share: the app, its middleware, errors, schemas, uploads and metrics."""
