from django.db import migrations

# The spans are those of monitoring.access.trail: addresses go after 30 days, rows after 400.
FORWARD = """
CREATE FUNCTION headroom_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '399 days' THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.at < now() - interval '29 days' AND NEW.address IS NULL
        AND (NEW.id, NEW.at, NEW.actor, NEW.action, NEW.subject, NEW.before, NEW.after)
            IS NOT DISTINCT FROM (OLD.id, OLD.at, OLD.actor, OLD.action, OLD.subject, OLD.before, OLD.after) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON monitoring_auditevent
    FOR EACH ROW EXECUTE FUNCTION headroom_audit_append_only();
"""
BACKWARD = """
DROP TRIGGER audit_append_only ON monitoring_auditevent;
DROP FUNCTION headroom_audit_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
