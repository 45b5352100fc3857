"""What Logstash's jdbc input does on a schedule: each second one statement, with what came before as `:sql_last_value`.

The rows of the flat join come in the order of the time that is tracked and are aggregated into documents; the time of the last
row is kept in a file for the next second. Reads the settings that pgsluice reads. With `--once` it asks once and ends.
"""

import os
import sys
import time
from itertools import groupby
from pathlib import Path

from flat_join import connect, document, send

# Each branch can use an index on its time, which makes this about the best statement that such a schedule is given.
ROWS = """
    with changed as (
        select id, max(modified) as modified
          from (select id, modified from content.film_work where modified > %(last)s
                union all
                select film_work_id, created from content.person_film_work where created > %(last)s
                union all
                select film_work_id, created from content.genre_film_work where created > %(last)s
                union all
                select l.film_work_id, p.modified
                  from content.person p
                  join content.person_film_work l on l.person_id = p.id
                 where p.modified > %(last)s
                union all
                select l.film_work_id, g.modified
                  from content.genre g
                  join content.genre_film_work l on l.genre_id = g.id
                 where g.modified > %(last)s) as found
         where modified < now()
         group by id
    )
    select fw.id, fw.rating, fw.title, fw.description, pfw.role, p.id as person_id, p.full_name, g.name, changed.modified
      from changed
      join content.film_work fw on fw.id = changed.id
      left join content.person_film_work pfw on pfw.film_work_id = fw.id
      left join content.person p on p.id = pfw.person_id
      left join content.genre_film_work gfw on gfw.film_work_id = fw.id
      left join content.genre g on g.id = gfw.genre_id
     order by changed.modified, fw.id
"""
FETCHED = 10_000


def actions(connection, kept, index):
    last = kept.read_text() if kept.exists() else "-infinity"
    # Rows are fetched as they are sent, as with `jdbc_fetch_size`.
    with connection.cursor(name="polling") as cursor:
        cursor.itersize = FETCHED
        cursor.execute(ROWS, {"last": last})
        for key, group in groupby(cursor, key=lambda row: row[0]):
            rows = list(group)
            last = rows[-1][8].isoformat()
            yield {"_index": index, "_id": str(key), "_source": document(rows)}
    kept.write_text(last)


def main():
    kept = Path(os.environ["STORAGE_SUBDIR"], "sql_last_value")
    with connect() as connection:
        while True:
            with connection.transaction():
                send(actions(connection, kept, os.environ["ELASTIC_INDEX"]))
            if "--once" in sys.argv:
                return
            time.sleep(1 - time.time() % 1)


if __name__ == "__main__":
    main()
