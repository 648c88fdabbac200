import{a,b,c,d,e}from"./chunk-L6E3CV5U.js";import"./chunk-YBKTP2L7.js";import"./chunk-3RNHDNP5.js";export{e as Fact,a as JobState,d as Jobs,c as sentenceOf,b as verbOf};
