select 1; -- {{ not a template }}
