"""The persons of a film by their role, as the documents of the built-in definition have them."""

from pgsync import plugin


class RolesPlugin(plugin.Plugin):
    name = "Roles"

    def transform(self, doc, **kwargs):
        links = doc.pop("links", None) or []
        doc["genres"] = doc.get("genres") or []
        for role in ("director", "actor", "writer"):
            persons = [link["person"] for link in links if link["role"] == role]
            doc[f"{role}s"] = [{"id": person["id"], "name": person["full_name"]} for person in persons]
            doc[f"{role}s_names"] = [person["full_name"] for person in persons]
        return doc
