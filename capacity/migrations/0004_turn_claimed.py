from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def claimed_when_done(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Of turns done before this was noted, the end is the nearest known: without it an import would leave them until the night."""
    apps.get_model("capacity", "Turn").objects.filter(claimed_at=None).update(claimed_at=models.F("done_at"))


class Migration(migrations.Migration):
    dependencies = [
        ("capacity", "0003_plans"),
    ]

    operations = [
        migrations.AddField(
            model_name="turn",
            name="claimed_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RunPython(claimed_when_done, migrations.RunPython.noop, elidable=True),
    ]
