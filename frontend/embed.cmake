# Writes the file IN as a C string constant to OUT.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "#include \"frontend/frontend.h\"\nconst char std_attar_text[] = {${bytes}0};\nconst size_t std_attar_size = sizeof std_attar_text - 1;\n")
