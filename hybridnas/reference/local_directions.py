"""LocalVMamba's searched scan directions (Huang et al., arXiv 2403.09338, released code).

Four out of eight a block; blocks apart by ` | `, first block first.
"""

TINY = (
    "h h_flip w7 w7_flip | h_flip v_flip w2 w2_flip | h_flip v_flip w2_flip w7 | h_flip v "
    "v_flip w2 | h h_flip v_flip w2_flip | h_flip v_flip w2 w2_flip | h w2_flip w7 w7_flip | "
    "h h_flip v v_flip | h v_flip w7 w7_flip | h_flip v w2 w7_flip | v v_flip w2 w7_flip | h "
    "h_flip v_flip w2_flip | v_flip w2_flip w7 w7_flip | h_flip v_flip w2_flip w7_flip | "
    "h_flip v w7 w7_flip"
)

SMALL = (
    "h v v_flip w7_flip | h h_flip v w7 | h_flip v v_flip w7 | h_flip v w2_flip w7 | h_flip v "
    "w2_flip w7 | h_flip v_flip w2 w7_flip | h_flip v v_flip w7 | h v v_flip w7 | h v v_flip "
    "w7 | h v v_flip w7_flip | h h_flip v v_flip | h v v_flip w2 | v v_flip w2_flip w7 | h "
    "h_flip v w2 | h_flip v v_flip w7_flip | h h_flip v v_flip | h v v_flip w7_flip | h v "
    "v_flip w7_flip | h h_flip v_flip w7 | h_flip v_flip w2_flip w7 | h_flip v v_flip w7_flip "
    "| v v_flip w7 w7_flip | h v v_flip w7_flip | h_flip v v_flip w2 | h v v_flip w2_flip | h "
    "h_flip v w7 | h h_flip w7 w7_flip | h v_flip w2 w2_flip | h v_flip w2 w7 | h v v_flip "
    "w7_flip | h_flip v w2_flip w7 | h_flip v_flip w7 w7_flip | h v w7 w7_flip"
)
