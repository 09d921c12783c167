{{/* nothing here */}}
