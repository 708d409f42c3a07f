"""Files in and out: text lines, JSON lines, CSV and Parquet; resumable, followed where asked, written in one step."""

from autocoder_components.files.read_csv import ReadCsv
from autocoder_components.files.read_json_lines import ReadJsonLines
from autocoder_components.files.read_lines import ReadLines

__all__ = ["ReadCsv", "ReadJsonLines", "ReadLines"]
