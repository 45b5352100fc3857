"""The usual script: pages of films, one flat join, grouped in Python, sent by the client's own bulk helper.

Reads the settings that pgsluice reads. It keeps no state, follows no change, and resumes nowhere.
"""

import os
from itertools import groupby

import psycopg
from elasticsearch import Elasticsearch, helpers

PAGE = 1000
ROLES = ("director", "actor", "writer")

FILMS = """
    select id, modified
      from content.film_work
     where (modified, id) > (%s, %s)
     order by modified, id
     limit %s
"""
ROWS = """
    select fw.id, fw.rating, fw.title, fw.description, pfw.role, p.id as person_id, p.full_name, g.name
      from content.film_work fw
      left join content.person_film_work pfw on pfw.film_work_id = fw.id
      left join content.person p on p.id = pfw.person_id
      left join content.genre_film_work gfw on gfw.film_work_id = fw.id
      left join content.genre g on g.id = gfw.genre_id
     where fw.id = any(%s)
     order by fw.id
"""


def document(rows):
    film = rows[0]
    built = {"id": str(film[0]), "imdb_rating": film[1], "title": film[2], "description": film[3]}
    built["genres"] = sorted({row[7] for row in rows if row[7] is not None})
    for role in ROLES:
        persons = sorted({(row[6], str(row[5])) for row in rows if row[4] == role})
        built[f"{role}s_names"] = [name for name, _ in persons]
        built[f"{role}s"] = [{"id": key, "name": name} for name, key in persons]
    return built


def actions(connection, index):
    last = ("-infinity", "00000000-0000-0000-0000-000000000000")
    with connection.cursor() as cursor:
        while films := cursor.execute(FILMS, (*last, PAGE)).fetchall():
            last = (films[-1][1], films[-1][0])
            rows = cursor.execute(ROWS, ([film[0] for film in films],)).fetchall()
            for key, group in groupby(rows, key=lambda row: row[0]):
                yield {"_index": index, "_id": str(key), "_source": document(list(group))}


def connect(**options):
    setting = os.environ.get
    return psycopg.connect(
        host=setting("PG_DSN__HOST"),
        port=setting("PG_DSN__PORT"),
        user=setting("PG_DSN__USER"),
        password=setting("PG_DSN__PASSWORD"),
        dbname=setting("PG_DSN__DBNAME"),
        **options,
    )


def send(actions):
    helpers.bulk(Elasticsearch(os.environ["ELASTIC_URL"]), actions, chunk_size=PAGE)


def main():
    with connect() as connection:
        send(actions(connection, os.environ["ELASTIC_INDEX"]))


if __name__ == "__main__":
    main()
