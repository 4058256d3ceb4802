"""Module power (Grace Hopper) of accelerators, at every level of the store."""

from django.db import migrations

NAME = "module_power_watts"
PARTS = ("count", "sum", "min", "max")
ROLLUPS = ("accelerator_5m", "accelerator_15m", "accelerator_1h", "accelerator_1d")

ADD = f"ALTER TABLE accelerator_sample ADD COLUMN {NAME} real;\n" + "\n".join(
    f"ALTER TABLE {table} " + ", ".join(f"ADD COLUMN {NAME}_{part} real" for part in PARTS) + ";" for table in ROLLUPS
)
DROP = f"ALTER TABLE accelerator_sample DROP COLUMN {NAME};\n" + "\n".join(
    f"ALTER TABLE {table} " + ", ".join(f"DROP COLUMN {NAME}_{part}" for part in PARTS) + ";" for table in ROLLUPS
)


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0004_agents")]

    operations = [migrations.RunSQL(ADD, DROP)]
