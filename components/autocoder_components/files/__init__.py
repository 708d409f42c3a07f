"""Files in and out: text lines, JSON lines, CSV and Parquet; resumable, followed where asked, written in one step."""

from autocoder_components.files.read_csv import ReadCsv
from autocoder_components.files.read_json_lines import ReadJsonLines
from autocoder_components.files.read_lines import ReadLines
from autocoder_components.files.read_parquet import ReadParquet
from autocoder_components.files.write_csv import WriteCsv
from autocoder_components.files.write_json_lines import WriteJsonLines
from autocoder_components.files.write_parquet import WriteParquet

__all__ = ["ReadCsv", "ReadJsonLines", "ReadLines", "ReadParquet", "WriteCsv", "WriteJsonLines", "WriteParquet"]
