"""Labels in a file beside the photos: tables (CSV, JSON lines, Parquet), and the exports of annotation tools."""
