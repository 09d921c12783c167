def get(x):
    return "{{ x }}"  # tab	é
