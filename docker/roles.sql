-- Run once by the postgres image, in the database `tracking` of a new server, as its superuser.
-- The owner migrates the schema. The application owns nothing, so that row-level security
-- binds it. Neither is a superuser.
\getenv owner_password TRACKING_OWNER_PASSWORD
\getenv app_password TRACKING_APP_PASSWORD

CREATE ROLE tracking_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE tracking_app LOGIN PASSWORD :'app_password';
ALTER DATABASE tracking OWNER TO tracking_owner;
